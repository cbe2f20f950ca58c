//! Listens, serves connections, ends those that stand still, drains at the end.
