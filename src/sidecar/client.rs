//! Who is calling: the address outside the trusted proxies.
