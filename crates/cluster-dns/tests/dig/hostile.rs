//! Packets and connections that no resolver would send, against the running process: it goes on, and so does everybody
//! else's business.

use std::{
    io::{Read, Write},
    net::{Shutdown, TcpStream, UdpSocket},
    time::{Duration, Instant},
};

use crate::processes::Dns;

const ZONE: &str = "$ORIGIN example.\n$TTL 60\nwww A 203.0.113.2\n";

/// Numbers that look random and are the same in every run (Marsaglia's xorshift).
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn bytes(&mut self, longest: u64) -> Vec<u8> {
        let length = self.next() % longest;
        (0..length).map(|_| self.next() as u8).collect()
    }
}

fn still_there(dns: &mut Dns) {
    let started = Instant::now();
    for transport in ["+notcp", "+tcp"] {
        let answer = dns.dig(&[transport, "www.example.", "A"]);
        assert_eq!(answer.records, ["www.example. IN A 203.0.113.2"], "{}", answer.whole);
    }
    assert!(started.elapsed() < Duration::from_secs(1), "{:?}", started.elapsed());
    assert!(dns.is_the_same_process());
}

#[test]
fn thousands_of_datagrams_of_any_bytes() {
    let mut dns = Dns::with_zone(ZONE);
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let mut numbers = Numbers(0x1234_5678_9abc_def1);
    for number in 0..5000u32 {
        let mut packet = numbers.bytes(600);
        if number % 2 == 0 && packet.len() > 12 {
            // As a question's header has it, so that what follows is read.
            packet[2..12].copy_from_slice(&[1, 0, 0, 1, 0, 0, 0, 0, 0, (number % 3) as u8]);
        }
        socket.send_to(&packet, ("127.0.0.1", dns.port)).unwrap();
        if number % 100 == 0 {
            std::thread::sleep(Duration::from_millis(2)); // the socket's buffer is finite
        }
    }
    still_there(&mut dns);
}

#[test]
fn connections_that_lie_about_lengths_stop_half_way_or_say_nothing() {
    let mut dns = Dns::with_zone(ZONE);
    let mut numbers = Numbers(0xfeed_beef_1234_5679);
    let mut silent = Vec::new();
    for number in 0..300u32 {
        let mut stream = TcpStream::connect(("127.0.0.1", dns.port)).unwrap();
        let packet = numbers.bytes(400);
        let length = match number % 4 {
            0 => packet.len() as u16,
            1 => u16::MAX,
            2 => 0,
            _ => numbers.next() as u16,
        };
        // It may have hung up on us already.
        let _ = stream.write_all(&length.to_be_bytes());
        let _ = stream.write_all(&packet);
        match number % 3 {
            0 => drop(stream),
            1 => drop(stream.shutdown(Shutdown::Write)),
            _ => silent.push(stream),
        }
    }
    still_there(&mut dns);
    // Two questions in one segment get two answers, in their order.
    let mut stream = TcpStream::connect(("127.0.0.1", dns.port)).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    let question = |id: u8| {
        let mut packet = vec![0, 33, 0, id];
        packet.extend(*b"\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x03www\x07example\x00\x00\x01\x00\x01");
        let length = packet.len() as u16 - 2;
        packet[..2].copy_from_slice(&length.to_be_bytes());
        packet
    };
    stream.write_all(&[question(1), question(2)].concat()).unwrap();
    for id in [1, 2] {
        let mut length = [0; 2];
        stream.read_exact(&mut length).unwrap();
        let mut answer = vec![0; usize::from(u16::from_be_bytes(length))];
        stream.read_exact(&mut answer).unwrap();
        assert_eq!((answer[1], answer[3] & 0xf), (id, 0));
    }
}
