//! Who a node is on the link: from whose device its frames come.

use crate::layout;

layout! {
    /// A node that is reached without a router, by its exact address (`AddressKey`). A node that is not in the map can't be
    /// told from the router that its frames come by.
    pub struct Neighbour, 8 {
        /// MAC address of its frames, in network byte order; zero: not known, so that no frame is from it.
        pub mac: [u8; 6],
        /// Zero.
        pub reserved: u16,
    }
}
