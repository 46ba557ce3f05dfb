//! Ends the process after a fixed time, whatever it waits for: standard input that never closes, a socket queue that
//! is full, an agent that is stopped.

use std::{thread, time::Duration};

use cni_protocol::{CniError, ErrorCode, Version};

use crate::output;

pub(crate) fn start() {
    // Without a thread to spare there are still the timeouts of the socket.
    let _ = thread::Builder::new().name("watchdog".to_owned()).spawn(|| {
        thread::sleep(LIMIT);
        let held = output::claim();
        // STATUS has a code of its own for "not now" (CNI 1.1, STATUS).
        let is_status = std::env::var_os("CNI_COMMAND").is_some_and(|command| command == "STATUS");
        let code = if is_status { ErrorCode::NOT_AVAILABLE } else { ErrorCode::TRY_AGAIN_LATER };
        let error =
            CniError::new(code, "malla-cni gave up waiting").with_details(format!("after {} s", LIMIT.as_secs()));
        output::line(&error.to_json(Version::CURRENT).to_string());
        std::mem::forget(held);
        std::process::exit(1);
    });
}

/// Above the time for the agent's answer, below the two minutes that runtimes wait at most.
const LIMIT: Duration = Duration::from_secs(30);
