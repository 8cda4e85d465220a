//! What the kernel has in memory, read at once; the rest read where waiting holds up nobody.
//!
//! A name that the kernel knows and a page that it holds are had within microseconds, on the worker that asks. The
//! kernel is asked in ways in which it says so instead of waiting for a disk: `openat2` with `RESOLVE_CACHED` (Linux
//! 5.12) and `preadv2` with `RWF_NOWAIT` (Linux 4.14; not by every file system). Only then a thread that may wait does
//! the same in the usual way.
//!
//! A file system of another machine, or of a process, may take any time even to open what the kernel knows. So only
//! folders on local ones are treated like this, and no mount below them (`RESOLVE_NO_XDEV`).
//!
//! Nothing is kept here: no descriptors, no contents, so there is nothing that can be old.

use std::fs::{File, Metadata};
use std::future::Future;
use std::io::{self, ErrorKind, IoSliceMut, SeekFrom};
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat2};
use rustix::io::{Errno, ReadWriteFlags, preadv2};
use tokio::io::{AsyncRead, AsyncSeek, ReadBuf};
use tokio::task::{JoinHandle, spawn_blocking};
use tower_http::services::fs::{self, Backend};

/// A folder, for `ServeDir`.
#[derive(Debug, Clone)]
pub(super) struct PageCache {
    root: Arc<Path>,
    /// Whether it is on a file system that never waits for anybody but a disk; asked once.
    local: Arc<OnceLock<bool>>,
}

/// Numbers of file systems (`statfs(2)`): ext2 to 4, XFS, Btrfs, tmpfs, F2FS, overlayfs, ZFS, bcachefs.
const LOCAL: [i64; 8] = [
    0xef53,
    0x5846_5342,
    0x9123_683e,
    0x0102_1994,
    0xf2f5_2010,
    0x794c_7630,
    0x2fc1_2fc1,
    0xca45_1a4e,
];

impl Backend for PageCache {
    type File = Reading;
    type Metadata = Metadata;
    type OpenFuture = Pin<Box<dyn Future<Output = io::Result<Reading>> + Send>>;
    type MetadataFuture = Pin<Box<dyn Future<Output = io::Result<Metadata>> + Send>>;

    fn open(&self, path: PathBuf) -> Self::OpenFuture {
        let this = self.clone();
        Box::pin(async move {
            // A pipe without a writer would be waited for.
            match this.cached(&path, OFlags::RDONLY | OFlags::NONBLOCK).await? {
                Some(file) => Reading::of(file),
                None => off_the_worker(move || open_waiting(&path)).await,
            }
        })
    }

    fn metadata(&self, path: PathBuf) -> Self::MetadataFuture {
        let this = self.clone();
        Box::pin(async move {
            let metadata = match this.cached(&path, OFlags::PATH).await? {
                Some(file) => file.metadata()?,
                None => off_the_worker(move || std::fs::metadata(path)).await?,
            };
            if metadata.is_file() || metadata.is_dir() {
                Ok(metadata)
            } else {
                Err(ErrorKind::NotFound.into())
            }
        })
    }
}

impl PageCache {
    pub(super) fn of(root: &Path) -> Self {
        Self {
            root: root.into(),
            local: Arc::default(),
        }
    }

    /// Opens what the kernel knows; `None`: it would have to wait.
    async fn cached(&self, path: &Path, flags: OFlags) -> io::Result<Option<File>> {
        if !self.is_local().await? {
            return Ok(None);
        }
        let below = path.strip_prefix(&self.root).unwrap_or(path);
        let below = if below.as_os_str().is_empty() {
            Path::new(".")
        } else {
            below
        };
        let folder_flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let opened = openat2(
            CWD,
            &*self.root,
            folder_flags,
            Mode::empty(),
            ResolveFlags::CACHED,
        )
        .and_then(|root| {
            let resolve = ResolveFlags::CACHED | ResolveFlags::NO_XDEV;
            openat2(&root, below, flags | OFlags::CLOEXEC, Mode::empty(), resolve)
        });
        match opened {
            Ok(file) => Ok(Some(file.into())),
            Err(error) if may_wait(error) => Ok(None),
            // What has no driver, and sockets.
            Err(Errno::NXIO | Errno::NODEV) => Err(ErrorKind::NotFound.into()),
            Err(error) => Err(error.into()),
        }
    }

    async fn is_local(&self) -> io::Result<bool> {
        if let Some(known) = self.local.get() {
            return Ok(*known);
        }
        let root = Arc::clone(&self.root);
        let kind = off_the_worker(move || Ok(rustix::fs::statfs(&*root)?.f_type)).await?;
        Ok(*self.local.get_or_init(|| LOCAL.contains(&kind)))
    }
}

/// Looks before it opens: to open what is no file may have consequences, or never end.
fn open_waiting(path: &Path) -> io::Result<Reading> {
    let found = rustix::fs::open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
    let found = File::from(found);
    if !found.metadata()?.is_file() {
        return Err(ErrorKind::NotFound.into());
    }
    Reading::of(File::open(format!("/proc/self/fd/{}", found.as_raw_fd()))?)
}

/// Whether it is not known yet because of how it was asked: the kernel would have waited, it is on another mount, or
/// (an older kernel, or one that is guarded) the question is not known.
fn may_wait(error: Errno) -> bool {
    matches!(
        error,
        Errno::AGAIN
            | Errno::XDEV
            | Errno::INTR
            | Errno::NOSYS
            | Errno::INVAL
            | Errno::OPNOTSUPP
            | Errno::PERM
    )
}

async fn off_the_worker<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    spawn_blocking(work).await.map_err(io::Error::other)?
}

/// A file being read, as far as it reached when it was opened.
#[derive(Debug)]
pub(super) struct Reading {
    file: Arc<File>,
    metadata: Metadata,
    position: u64,
    /// A piece that a thread waits for.
    piece: Option<JoinHandle<io::Result<Vec<u8>>>>,
}

impl Reading {
    /// Devices, pipes and sockets count as not there.
    fn of(file: File) -> io::Result<Self> {
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Err(ErrorKind::NotFound.into());
        }
        Ok(Self {
            file: Arc::new(file),
            metadata,
            position: 0,
            piece: None,
        })
    }

    /// Reads what is in memory; `None`: the kernel would have to wait.
    fn read_cached(&mut self, wanted: usize, buffer: &mut ReadBuf<'_>) -> Option<io::Result<()>> {
        let room = buffer.initialize_unfilled_to(wanted);
        let read = preadv2(
            &self.file,
            &mut [IoSliceMut::new(room)],
            self.position,
            ReadWriteFlags::NOWAIT,
        );
        match read {
            // Some kernels say so for pages that they do not have; there is more, as far as is known.
            Ok(0) => None,
            Ok(read) => {
                buffer.advance(read);
                self.position += read as u64;
                Some(Ok(()))
            }
            Err(error) if may_wait(error) => None,
            Err(error) => Some(Err(error.into())),
        }
    }

    fn read_waiting(&self, wanted: usize) -> JoinHandle<io::Result<Vec<u8>>> {
        let (file, position) = (Arc::clone(&self.file), self.position);
        spawn_blocking(move || {
            let mut piece = vec![0; wanted];
            let read = file.read_at(&mut piece, position)?;
            piece.truncate(read);
            Ok(piece)
        })
    }
}

impl AsyncRead for Reading {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let left = this.metadata.len().saturating_sub(this.position);
        let wanted = usize::try_from(left).map_or(buffer.remaining(), |left| left.min(buffer.remaining()));
        if wanted == 0 {
            return Poll::Ready(Ok(()));
        }
        if this.piece.is_none()
            && let Some(read) = this.read_cached(wanted, buffer)
        {
            return Poll::Ready(read);
        }
        let mut waiting = match this.piece.take() {
            Some(waiting) => waiting,
            None => this.read_waiting(wanted),
        };
        let Poll::Ready(read) = Pin::new(&mut waiting).poll(context) else {
            this.piece = Some(waiting);
            return Poll::Pending;
        };
        let piece = read.map_err(io::Error::other)??;
        let fits = piece.get(..wanted).unwrap_or(&piece);
        buffer.put_slice(fits);
        this.position += fits.len() as u64;
        Poll::Ready(Ok(()))
    }
}

impl AsyncSeek for Reading {
    fn start_seek(mut self: Pin<&mut Self>, to: SeekFrom) -> io::Result<()> {
        let (base, offset) = match to {
            SeekFrom::Start(position) => (position, 0),
            SeekFrom::Current(offset) => (self.position, offset),
            SeekFrom::End(offset) => (self.metadata.len(), offset),
        };
        self.position = base.checked_add_signed(offset).ok_or(ErrorKind::InvalidInput)?;
        self.piece = None;
        Ok(())
    }

    fn poll_complete(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<u64>> {
        Poll::Ready(Ok(self.position))
    }
}

impl fs::File for Reading {
    type Metadata = Metadata;
    type MetadataFuture<'a> = std::future::Ready<io::Result<Metadata>>;

    fn metadata(&self) -> Self::MetadataFuture<'_> {
        std::future::ready(Ok(self.metadata.clone()))
    }
}

#[cfg(test)]
mod tests {
    use std::io::{ErrorKind, SeekFrom, Write};
    use std::path::Path;

    use tokio::io::{AsyncReadExt, AsyncSeekExt};
    use tower_http::services::fs::Backend;

    use super::{PageCache, Reading, open_waiting};

    async fn open(file: &Path) -> Reading {
        let folder = PageCache::of(file.parent().unwrap());
        folder.open(file.to_owned()).await.unwrap()
    }

    #[tokio::test]
    async fn a_thread_that_may_wait_opens_the_same() {
        let folder = tempfile::tempdir().unwrap();
        let (file, pipe) = (folder.path().join("file"), folder.path().join("pipe"));
        std::fs::write(&file, "text").unwrap();
        rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, rustix::fs::Mode::RUSR).unwrap();
        let mut text = String::new();
        open_waiting(&file)
            .unwrap()
            .read_to_string(&mut text)
            .await
            .unwrap();
        assert_eq!(text, "text");
        for absent in [pipe, folder.path().join("none"), folder.path().to_owned()] {
            let refused = open_waiting(&absent).unwrap_err().kind();
            assert_eq!(refused, ErrorKind::NotFound, "{}", absent.display());
        }
    }

    #[tokio::test]
    async fn what_a_thread_waited_for_comes_once_and_in_its_place() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(b"0123456789").unwrap();
        let mut reading = open(file.path()).await;
        let mut start = [0; 3];
        reading.read_exact(&mut start).await.unwrap();
        // As if the kernel had said that it would have to wait.
        reading.piece = Some(reading.read_waiting(4));
        let mut rest = String::new();
        reading.read_to_string(&mut rest).await.unwrap();
        assert_eq!((&start, &*rest), (b"012", "3456789"));

        reading.piece = Some(reading.read_waiting(0));
        reading.seek(SeekFrom::Start(8)).await.unwrap();
        rest.clear();
        reading.read_to_string(&mut rest).await.unwrap();
        assert_eq!(rest, "89");
    }

    #[tokio::test]
    async fn a_file_ends_where_it_ended_when_it_was_opened() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(b"as promised").unwrap();
        let mut reading = open(file.path()).await;
        file.write_all(b", and more").unwrap();
        let mut text = String::new();
        reading.read_to_string(&mut text).await.unwrap();
        assert_eq!(text, "as promised");
    }
}
