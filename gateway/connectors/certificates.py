"""What a certificate that does not verify is told as, wherever it was met."""

from __future__ import annotations

import ssl

_NOT_YET, _EXPIRED = 9, 10
"""X509_V_ERR_CERT_NOT_YET_VALID and X509_V_ERR_CERT_HAS_EXPIRED of OpenSSL."""


def certificate_words(error: ssl.SSLCertVerificationError) -> str:
    """Why it does not verify; where that depends on the date, the clock of this machine is named too."""
    words = str(getattr(error, "verify_message", "") or error)
    if getattr(error, "verify_code", 0) in (_NOT_YET, _EXPIRED):
        return f"{words}; or the clock of this machine is wrong (see: date)"
    return words
