//! What a subprogram gives back: one number, because a BPF function returns one register.

use datapath_layouts::DropReason;

/// 0: went well; else the drop reason's number.
pub type Code = u32;

/// Into a number.
#[inline(always)]
pub fn encode(result: Result<(), DropReason>) -> Code {
    match result {
        Ok(()) => 0,
        Err(reason) => reason as u32,
    }
}

/// Back from a number that [`encode`] or [`reason`] made.
#[inline(always)]
pub fn decode(code: Code) -> Result<(), DropReason> {
    if code == 0 { Ok(()) } else { Err(reason(code)) }
}

/// The reason with this number.
#[inline(always)]
pub fn reason(code: Code) -> DropReason {
    // SAFETY: only numbers of `DropReason` are ever encoded.
    unsafe { core::mem::transmute(code as u8) }
}

/// A verdict, or minus the drop reason's number.
#[inline(always)]
pub fn encode_verdict(result: Result<i32, DropReason>) -> i32 {
    match result {
        Ok(verdict) => verdict,
        Err(reason) => -(reason as i32),
    }
}

/// Back from [`encode_verdict`]; verdicts are never negative here.
#[inline(always)]
pub fn decode_verdict(code: i32) -> Result<i32, DropReason> {
    if code >= 0 { Ok(code) } else { Err(reason((-code) as u32)) }
}
