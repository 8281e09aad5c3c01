//! The vault from the client's side: three backends behind one trait.
