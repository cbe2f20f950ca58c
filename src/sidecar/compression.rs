//! Compresses answers that gain from it, where asked (D74, G34).
