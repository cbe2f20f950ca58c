//! The HTTP metrics of the contract (E01-E03, E12).
