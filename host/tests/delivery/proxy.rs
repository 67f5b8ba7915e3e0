//! A line to the broker that breaks without the broker's notice, and that can change the time which the broker tells.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// Passes bytes on between clients and a broker, until it is cut.
pub struct Proxy {
    pub address: SocketAddr,
    /// Whether the broker notices the newest cut.
    cuts: watch::Sender<bool>,
    /// By how many milliseconds the broker's time is changed.
    shift: Arc<AtomicI64>,
    /// How many connections there are.
    open: Arc<Mutex<usize>>,
    task: JoinHandle<()>,
}

impl Proxy {
    pub async fn start(broker: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let cuts = watch::Sender::new(false);
        let open = Arc::new(Mutex::new(0));
        let shift = Arc::new(AtomicI64::new(0));
        let (news, count, shifted) = (cuts.clone(), Arc::clone(&open), Arc::clone(&shift));
        let task = tokio::spawn(async move {
            // The broker's ends of lines that were cut: they stay, and nobody reads them.
            let dangling = Arc::new(Mutex::new(Vec::new()));
            while let Ok((client, _)) = listener.accept().await {
                let (news, count, dangling) = (news.subscribe(), Arc::clone(&count), Arc::clone(&dangling));
                let shift = Arc::clone(&shifted);
                tokio::spawn(async move {
                    let upstream = TcpStream::connect(broker).await.unwrap();
                    *count.lock().unwrap() += 1;
                    if let Some(half) = pass(client, upstream, news, &shift).await {
                        dangling.lock().unwrap().push(half);
                    }
                    *count.lock().unwrap() -= 1;
                });
            }
        });
        Self {
            address,
            cuts,
            shift,
            open,
            task,
        }
    }

    /// Close the clients' ends alone.
    pub fn cut(&self) {
        self.cuts.send_replace(false);
    }

    /// Close both ends.
    pub fn close(&self) {
        self.cuts.send_replace(true);
    }

    /// Let the broker tell a time that differs by so many milliseconds, on connections from now on.
    pub fn shift_time(&self, milliseconds: i64) {
        self.shift.store(milliseconds, Ordering::Relaxed);
    }

    /// How many clients are connected.
    pub fn connections(&self) -> usize {
        *self.open.lock().unwrap()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Returns the broker's end if the line was cut and the broker is not to notice.
async fn pass(
    mut client: TcpStream,
    mut broker: TcpStream,
    mut cuts: watch::Receiver<bool>,
    shift: &AtomicI64,
) -> Option<TcpStream> {
    let (mut up, mut down) = ([0; 16384], [0; 16384]);
    cuts.mark_unchanged();
    loop {
        tokio::select! {
            _ = cuts.changed() => return (!*cuts.borrow()).then_some(broker),
            read = client.read(&mut up) => match read {
                Ok(count @ 1..) => broker.write_all(up.get(..count)?).await.ok()?,
                _ => return None,
            },
            read = broker.read(&mut down) => match read {
                Ok(count @ 1..) => {
                    let bytes = down.get_mut(..count)?;
                    shift_time_in(bytes, shift.load(Ordering::Relaxed));
                    client.write_all(bytes).await.ok()?;
                }
                _ => return None,
            },
        }
    }
}

/// Change the time in CONNACK, a user property: its name, two bytes of length, and 13 digits.
fn shift_time_in(bytes: &mut [u8], milliseconds: i64) {
    const NAME: &[u8] = b"foundry-time";
    let Some(at) = bytes.windows(NAME.len()).position(|window| window == NAME) else {
        return;
    };
    let digits = &mut bytes[at + NAME.len() + 2..][..13];
    let time: i64 = std::str::from_utf8(digits).unwrap().parse().unwrap();
    digits.copy_from_slice((time + milliseconds).to_string().as_bytes());
}
