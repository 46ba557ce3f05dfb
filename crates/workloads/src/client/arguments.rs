//! Command lines of the client.

use std::time::Duration;

use clap::{Args, Subcommand};

/// `malla workload client`.
#[derive(Debug, Clone, Args)]
pub struct ClientArgs {
    #[command(subcommand)]
    pub request: Option<Request>,
}

/// What to ask; without any the client sleeps.
#[derive(Debug, Clone, Subcommand)]
pub enum Request {
    /// Sends HTTP/1.1 requests.
    Http(HttpArgs),
    /// Connects, sends bytes and expects them back.
    Tcp(TcpArgs),
    /// Sends datagrams and expects them back.
    Udp(UdpArgs),
    /// Reads such requests from standard input, one a line, makes all of them at once, and prints a JSON object for each.
    Batch,
}

/// How much, how fast, how long.
#[derive(Debug, Clone, Args)]
pub struct LoadArgs {
    /// How many requests in all.
    #[arg(long, default_value_t = 1)]
    pub count: u64,
    /// Go on for this long instead of counting, for example 60s or 500ms.
    #[arg(long, value_parser = duration)]
    pub duration: Option<Duration>,
    /// How many at once.
    #[arg(long, default_value_t = 1)]
    pub concurrency: usize,
    /// Requests per second in all; without it as many as go.
    #[arg(long)]
    pub rate: Option<f64>,
    /// How long one request may take.
    #[arg(long, value_parser = duration, default_value = "5s")]
    pub timeout: Duration,
    /// Print one JSON object.
    #[arg(long)]
    pub json: bool,
}

/// `client http`.
#[derive(Debug, Clone, Args)]
pub struct HttpArgs {
    /// For example `http://10.96.0.20/hostname` or `http://[fd00::1]:8080/`.
    pub url: String,
    /// A connection of its own for every request.
    #[arg(long)]
    pub close: bool,
    /// POST this many bytes of the pattern 0, 1, … 250, 0, …
    #[arg(long)]
    pub body: Option<u64>,
    /// Print the last answer's body.
    #[arg(long)]
    pub show: bool,
    #[command(flatten)]
    pub load: LoadArgs,
}

/// `client tcp`.
#[derive(Debug, Clone, Args)]
pub struct TcpArgs {
    /// For example `10.244.1.2:8081` or `[fd00::1]:8081`.
    pub address: String,
    /// Bytes per exchange; 0 only connects and closes.
    #[arg(long, default_value_t = 64)]
    pub size: usize,
    /// Make all exchanges of a worker over one connection.
    #[arg(long)]
    pub keep: bool,
    #[command(flatten)]
    pub load: LoadArgs,
}

/// `client udp`.
#[derive(Debug, Clone, Args)]
pub struct UdpArgs {
    /// For example `10.244.1.2:8080`.
    pub address: String,
    /// Bytes per datagram.
    #[arg(long, default_value_t = 64)]
    pub size: usize,
    /// Ask `whoami` instead of sending a payload.
    #[arg(long)]
    pub whoami: bool,
    /// Use one socket (so one source port) per worker instead of one per datagram.
    #[arg(long)]
    pub keep: bool,
    #[command(flatten)]
    pub load: LoadArgs,
}

/// `250ms`, `5s`, `2m`, or a number of seconds.
fn duration(text: &str) -> Result<Duration, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let scale = match &text[digits.len()..] {
        "ms" => 0.001,
        "" | "s" => 1.0,
        "m" => 60.0,
        unit => return Err(format!("unit {unit:?} is none of ms, s, m")),
    };
    let number: f64 = digits.parse().map_err(|_| format!("{digits:?} is not a number"))?;
    Duration::try_from_secs_f64(number * scale).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        assert_eq!(duration("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(duration("1.5"), Ok(Duration::from_millis(1500)));
        assert_eq!(duration("2m"), Ok(Duration::from_secs(120)));
        assert!(duration("-1s").is_err());
        assert!(duration("5 parsecs").is_err());
        assert!(duration("").is_err());
    }
}
