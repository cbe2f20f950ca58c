//! Correlation ids and trace context (D26, D78, X19, G27).
