//! A real S3 server.

use std::io::Write as _;
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex};

/// Makes a bucket that everybody may read; tries until the server has come up.
const MAKE_BUCKET: &str = r#"
import json
import sys
import boto3
from botocore.config import Config

endpoint, bucket = sys.argv[1:]
retries = Config(retries={"total_max_attempts": 12, "mode": "standard"})
client = boto3.client("s3", endpoint_url=endpoint, region_name="us-east-1", config=retries)
client.create_bucket(Bucket=bucket)
everybody = {"Effect": "Allow", "Principal": "*", "Action": "s3:GetObject", "Resource": f"arn:aws:s3:::{bucket}/*"}
client.put_bucket_policy(Bucket=bucket, Policy=json.dumps({"Version": "2012-10-17", "Statement": [everybody]}))
"#;

/// moto's server, with one bucket. What it holds ends with it.
pub struct S3Server {
    server: Child,
    port: u16,
    /// Where the programs are.
    tools: String,
}

impl S3Server {
    /// Starts it and makes the bucket.
    pub fn with_bucket(bucket: &str) -> Self {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../scripts/s3-server");
        let tools = said(&Command::new(script).stderr(Stdio::inherit()).output().unwrap());
        let port = free_port();
        let server = Command::new(format!("{tools}/bin/moto_server"))
            .args(["--host", "127.0.0.1", "--port", &port.to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let started = Self { server, port, tools };
        started.make_bucket(bucket);
        started
    }

    /// Makes another bucket.
    pub fn make_bucket(&self, bucket: &str) {
        let made = Command::new(format!("{}/bin/python", self.tools))
            .args(["-c", MAKE_BUCKET, &self.endpoint(), bucket])
            .env("AWS_ACCESS_KEY_ID", "test")
            .env("AWS_SECRET_ACCESS_KEY", "test")
            .output()
            .unwrap();
        said(&made);
    }

    /// Its URL.
    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// A way to it that can be cut.
    pub fn cable(&self) -> Cable {
        Cable::to(self.port)
    }
}

impl Drop for S3Server {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

/// Forwards connections to a port of this machine, until it is cut.
pub struct Cable {
    port: u16,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    cut: bool,
    open: Vec<TcpStream>,
}

impl Cable {
    fn to(target: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let state = Arc::new(Mutex::new(State::default()));
        let shared = Arc::clone(&state);
        // Ends with the test's process.
        std::thread::spawn(move || {
            for near in listener.incoming().flatten() {
                let mut state = shared.lock().unwrap();
                if state.cut {
                    continue;
                }
                let Ok(far) = TcpStream::connect(("127.0.0.1", target)) else {
                    continue;
                };
                forward(near.try_clone().unwrap(), far.try_clone().unwrap());
                forward(far.try_clone().unwrap(), near.try_clone().unwrap());
                state.open.extend([near, far]);
            }
        });
        Self { port, state }
    }

    /// The URL at its near end.
    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// From now on nothing passes, not even of what has begun.
    pub fn cut(&self) {
        let mut state = self.state.lock().unwrap();
        state.cut = true;
        for connection in state.open.drain(..) {
            let _ = connection.shutdown(std::net::Shutdown::Both);
        }
    }

    /// It is whole again.
    pub fn mend(&self) {
        self.state.lock().unwrap().cut = false;
    }
}

fn forward(mut from: TcpStream, mut to: TcpStream) {
    std::thread::spawn(move || {
        let _ = std::io::copy(&mut from, &mut to);
        let _ = to.flush();
        let _ = to.shutdown(std::net::Shutdown::Write);
    });
}

/// What a program printed, which must have succeeded.
fn said(output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    assert!(output.status.success(), "{}", text(&output.stderr));
    text(&output.stdout)
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}
