//! Cross-origin calls (D63, X28).
