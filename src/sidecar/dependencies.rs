//! Checks what the service depends on, in the background (D06, D07, D09, G14).
