//! A zone from a file (RFC 1035 §5), for names that no cluster has: in the lab, those of the outside host.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

use hickory_proto::{
    rr::{Name, RData, RecordType},
    serialize::txt::{ParseError, Parser},
};

use crate::table::{Found, soa};

/// A zone that does not change while the process runs. Its times to live are not the file's but [`crate::table::TTL`]:
/// whoever writes one for a lab changes his mind soon.
#[derive(Debug)]
pub struct ZoneFile {
    origin: Name,
    records: BTreeMap<Name, Vec<RData>>,
}

/// Why a file is no zone.
#[derive(Debug, thiserror::Error)]
pub enum ZoneFileError {
    #[error("read {0}")]
    Read(PathBuf, #[source] io::Error),
    #[error("{0} is no zone file")]
    Parse(PathBuf, #[source] ParseError),
}

impl ZoneFile {
    /// Reads a file; it names its zone by `$ORIGIN`.
    pub fn read(path: &Path) -> Result<Self, ZoneFileError> {
        let text = fs::read_to_string(path).map_err(|error| ZoneFileError::Read(path.to_owned(), error))?;
        let parser = Parser::new(text, Some(path.to_owned()), None);
        let (origin, sets) = parser.parse().map_err(|error| ZoneFileError::Parse(path.to_owned(), error))?;
        let mut records: BTreeMap<Name, Vec<RData>> = BTreeMap::new();
        for set in sets.values() {
            let all = set.records_without_rrsigs().map(|record| record.data.clone());
            records.entry(set.name().clone()).or_default().extend(all);
        }
        Ok(Self { origin, records })
    }

    /// The zone's own name.
    pub fn origin(&self) -> &Name {
        &self.origin
    }

    /// Whether the name is in the zone, whatever is there.
    pub fn holds(&self, name: &Name) -> bool {
        self.origin.zone_of(name)
    }

    /// What is at a name of the zone.
    pub fn lookup(&self, name: &Name) -> Found {
        match self.records.get(name) {
            Some(records) => {
                let alias = records.iter().find_map(|record| match record {
                    RData::CNAME(target) => Some(target.0.clone()),
                    _ => None,
                });
                alias.map_or_else(|| Found::Here(records.clone()), Found::Alias)
            }
            None if name == &self.origin || self.records.keys().any(|held| name.zone_of(held)) => {
                Found::Here(Vec::new())
            }
            None => Found::Nothing,
        }
    }

    /// The file's own SOA record, or one made up.
    pub fn soa(&self) -> (Name, RData) {
        let own = self.records.get(&self.origin).into_iter().flatten();
        let own = own.into_iter().find(|record| record.record_type() == RecordType::SOA).cloned();
        (self.origin.clone(), own.unwrap_or_else(|| soa(&self.origin, 1)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_records() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("zone");
        fs::write(
            &path,
            "$ORIGIN example.\n$TTL 60\n@ SOA ns hostmaster 7 1 1 1 1\nwww A 203.0.113.2\nwww AAAA 2001:db8::2\n\
             alias CNAME www\na.b.c TXT \"deep\"\n",
        )
        .unwrap();
        let zone = ZoneFile::read(&path).unwrap();
        let lookup = |name: &str| zone.lookup(&Name::from_ascii(name).unwrap());
        assert_eq!(zone.origin().to_string(), "example.");
        assert!(matches!(lookup("WWW.example."), Found::Here(records) if records.len() == 2));
        assert!(matches!(lookup("alias.example."), Found::Alias(name) if name.to_string() == "www.example."));
        assert_eq!(lookup("c.example."), Found::Here(vec![]), "a name with names below it is there");
        assert_eq!(lookup("d.example."), Found::Nothing);
        assert!(!zone.holds(&Name::from_ascii("example.org.").unwrap()));
        assert!(matches!(zone.soa().1, RData::SOA(soa) if soa.serial == 7));
    }

    #[test]
    fn what_is_none_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("zone");
        fs::write(&path, "$ORIGIN example.\nwww A not-an-address\n").unwrap();
        assert!(matches!(ZoneFile::read(&path), Err(ZoneFileError::Parse(..))));
        assert!(matches!(ZoneFile::read(&folder.path().join("none")), Err(ZoneFileError::Read(..))));
    }
}
