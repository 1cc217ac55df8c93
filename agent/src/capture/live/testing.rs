//! What the privileged tests need besides the interface.
