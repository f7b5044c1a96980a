"""One story for each numbered scenario of the reliability plan; each test is named by its number."""
