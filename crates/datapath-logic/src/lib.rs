//! datapath-logic.
