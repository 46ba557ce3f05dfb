//! datapath-layouts.
