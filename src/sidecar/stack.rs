//! The layers that a request passes, in order (X54, L09).
