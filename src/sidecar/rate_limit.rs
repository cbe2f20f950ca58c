//! Requests per minute of an address or a subject (D71, X46, G33).
