"""What happens to mail: pure decisions and the durable store. No sockets, no providers, no screen, no clock."""
