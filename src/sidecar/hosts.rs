//! Refuses hosts that are not ours (D77).
