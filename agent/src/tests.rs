//! What unit tests of several modules share, and what documentation says of the code.

mod docs;
