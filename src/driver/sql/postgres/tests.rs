//! What is special to it.
