//! Leaves an application alone that cannot be reached (G26). Pure: the clock is given.
