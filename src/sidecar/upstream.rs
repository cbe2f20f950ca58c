//! The bounded pool of connections to the application.
