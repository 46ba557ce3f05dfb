//! The Pod runner with real namespaces, processes and a plugin that speaks CNI; only the API is in memory.

mod commands;
mod embedded_api;
mod life;
mod load;
mod support;
mod trouble;
