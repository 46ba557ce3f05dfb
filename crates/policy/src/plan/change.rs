//! One write to one map.

use datapath_layouts::{CidrId, IdentityInfo, PeerKey, Policy, PolicyKey, PrefixKey, RangeKey, Row, RowKey};

/// A write that leaves every verdict either as it was or as it shall be, if done in the order of its plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Write a row of a class that nobody is in yet.
    WriteRow(RowKey, Row),
    /// Delete a row of a class that nobody is in any more.
    RemoveRow(RowKey),
    /// Write a range of a class that nobody is in yet.
    WriteRange(RangeKey, Row),
    /// Delete a range of a class that nobody is in any more.
    RemoveRange(RangeKey),
    /// Put a peer into a class that is there.
    WritePeer(PeerKey, u32),
    /// Leave a peer to the next level.
    RemovePeer(PeerKey),
    /// Name a prefix whose peers are there in every table.
    WriteCidr(PrefixKey, CidrId),
    /// Leave a prefix to the one around it.
    RemoveCidr(PrefixKey),
    /// Say who an identity is; its peers are there.
    WriteIdentity(u32, IdentityInfo),
    /// From here on it is unknown.
    RemoveIdentity(u32),
    /// Write a subject's direction, whose table is there.
    WritePolicy(PolicyKey, Policy),
    /// From here on everything is denied to whoever has this policy id.
    RemovePolicy(PolicyKey),
}
