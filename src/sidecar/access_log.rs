//! One line for each request (D20, D21, D30, D31).
