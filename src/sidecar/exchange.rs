//! One request on its way: what layers, logs and metrics know of it.
