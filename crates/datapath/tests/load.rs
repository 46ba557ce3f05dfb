//! The programs load on this kernel, within their budget.

mod bench;

use bench::Bench;

/// Most instructions that the verifier may go through for one program: far below its limit of a million, and a jump
/// in these numbers is a change that somebody should have meant. Linux 6.1 goes through up to a third more than 6.18 does.
const BUDGET: u32 = 250_000;

#[test]
fn every_program_loads_within_budget() {
    let bench = Bench::new();
    for program in &bench.infos {
        println!("{:14} {:6} verified instructions", program.name, program.verified_instructions);
        assert!(program.verified_instructions < BUDGET, "{program:?}");
    }
    assert_eq!(bench.infos.len(), 16);
}
