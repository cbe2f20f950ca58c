//! Reads the settings and says everything that is wrong with them at once.
