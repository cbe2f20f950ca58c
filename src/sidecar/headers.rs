//! Headers of answers and of the way between: security (D60), hop by hop.
