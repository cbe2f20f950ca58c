//! Who calls, as the token says (D64, D65).
