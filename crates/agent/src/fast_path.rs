//! The XDP program on the node's device: where it goes, or why it does not. Without it every packet takes the way through
//! tc, with the same outcome.

use crate::cli::XdpArg;
use crate::facts::Device;
use datapath::{Datapath, XdpMode};
use netlink::{LinkKind, Netlink};

/// What was done, for status: the mode, or `off` and the reason.
pub fn start(wish: XdpArg, datapath: &Datapath, netlink: &Netlink, device: &Device) -> String {
    let outcome = match netlink.link_by_index(device.index) {
        Ok(Some(link)) => plan(wish, &link.kind),
        Ok(None) => Err("the device is gone".to_owned()),
        Err(error) => Err(crate::error::chain(&error)),
    };
    let outcome = outcome.and_then(|mode| {
        datapath.attach_xdp(&device.name, device.index, mode).map(|()| name(mode)).map_err(|e| crate::error::chain(&e))
    });
    match outcome {
        Ok(mode) => format!("{mode} on {}", device.name),
        Err(why) => {
            if let Err(error) = datapath.detach_xdp(&device.name) {
                tracing::warn!("ending XDP on {}: {}", device.name, crate::error::chain(&error));
            }
            if matches!(wish, XdpArg::Native | XdpArg::Generic) {
                tracing::warn!("XDP on {} was asked for and is off: {why}", device.name);
            }
            format!("off: {why}")
        }
    }
}

/// The mode to try, or why none is tried.
///
/// XDP works on frames whose checksums are complete. Network cards check and complete them; a veth hands on what its peer left
/// undone, and delivers nothing that is sent back unless the peer runs a program too. That can't be seen from this end, so a
/// veth is for those who ask for it.
fn plan(wish: XdpArg, kind: &LinkKind) -> Result<XdpMode, String> {
    match (wish, kind) {
        (XdpArg::Off, _) => Err("switched off".to_owned()),
        (XdpArg::Generic, _) => Ok(XdpMode::Generic),
        (XdpArg::Auto, LinkKind::Veth) => Err(
            "the device is a veth, whose frames may lack checksums (--xdp native, where its peer completes them and runs an XDP program)"
                .to_owned(),
        ),
        (XdpArg::Auto | XdpArg::Native, _) => Ok(XdpMode::Native),
    }
}

const fn name(mode: XdpMode) -> &'static str {
    match mode {
        XdpMode::Native => "native",
        XdpMode::Generic => "generic",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_veth_is_for_those_who_ask() {
        let card = LinkKind::Other(String::new());
        assert_eq!(plan(XdpArg::Auto, &card), Ok(XdpMode::Native));
        assert!(plan(XdpArg::Auto, &LinkKind::Veth).unwrap_err().contains("veth"));
        assert_eq!(plan(XdpArg::Native, &LinkKind::Veth), Ok(XdpMode::Native));
        assert_eq!(plan(XdpArg::Generic, &LinkKind::Veth), Ok(XdpMode::Generic));
        assert!(plan(XdpArg::Off, &card).is_err());
    }
}
