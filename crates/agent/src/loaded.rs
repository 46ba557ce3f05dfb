//! The datapath as the agent sees it: the loaded programs, or their twin in memory.

use crate::error::Error;
use crate::status::MapUsage;
use datapath_layouts::{NodeConfig, StatsValue};

/// Loaded programs.
pub trait Loaded: Send + Sync {
    /// Their settings.
    fn config(&self) -> NodeConfig;
    /// Swaps in programs with other settings.
    fn reconfigure(&self, config: NodeConfig) -> Result<(), Error>;
    /// What the maps cost.
    fn usages(&self) -> Result<Vec<MapUsage>, Error>;
    /// Counters by slot, summed over the CPUs.
    fn stats(&self) -> Result<Vec<(u32, StatsValue)>, Error>;
    /// How programs are attached.
    fn attach_mode(&self) -> Option<String>;
}
