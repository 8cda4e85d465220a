//! Frames without any IO: bytes in, messages out.

use serde::{Serialize, de::DeserializeOwned};

use super::MAX_FRAME;

const PREFIX: usize = size_of::<u32>();

/// A buffer above this is given back once it is empty: one large frame must not stay in memory.
const KEPT_CAPACITY: usize = 4096;

/// Why bytes are no message.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// The frame is longer than [`MAX_FRAME`].
    #[error("frame of {0} bytes is too long")]
    TooLong(usize),
    /// The frame is not the expected JSON.
    #[error("frame is not a message")]
    Json(#[source] serde_json::Error),
}

/// Takes bytes as they come and gives messages as they complete.
///
/// Holds what was fed and not yet taken, so take until nothing is left before feeding more: then it never holds
/// more than one frame and what came with it.
#[derive(Debug, Default)]
pub struct Decoder {
    buffer: Vec<u8>,
    taken: usize,
}

/// A message as a frame.
///
/// # Errors
/// When it cannot be JSON (a path that is not UTF-8) or is too long.
pub fn encode<T: Serialize>(message: &T) -> Result<Vec<u8>, FrameError> {
    let mut frame = vec![0; PREFIX];
    serde_json::to_writer(&mut frame, message).map_err(FrameError::Json)?;
    let length = frame.len() - PREFIX;
    let prefix = u32::try_from(length).map_err(|_| FrameError::TooLong(length))?;
    if length > MAX_FRAME {
        return Err(FrameError::TooLong(length));
    }
    frame[..PREFIX].copy_from_slice(&prefix.to_be_bytes());
    Ok(frame)
}

impl Decoder {
    /// Takes bytes in.
    pub fn feed(&mut self, bytes: &[u8]) {
        self.buffer.drain(..self.taken);
        self.taken = 0;
        self.buffer.extend_from_slice(bytes);
    }

    /// The next complete message, if there is one. After an error the stream has no meaning any more.
    ///
    /// # Errors
    /// When the frame is too long or not such a message.
    pub fn take<T: DeserializeOwned>(&mut self) -> Result<Option<T>, FrameError> {
        let Some(length) = self.complete_length()? else {
            return Ok(None);
        };
        let body = self.taken + PREFIX;
        let message = serde_json::from_slice(&self.buffer[body..body + length]).map_err(FrameError::Json);
        self.taken = body + length;
        self.release();
        message.map(Some)
    }

    fn complete_length(&mut self) -> Result<Option<usize>, FrameError> {
        let pending = &self.buffer[self.taken..];
        let Some((prefix, body)) = pending.split_first_chunk::<PREFIX>() else {
            return Ok(None);
        };
        let length = u32::from_be_bytes(*prefix) as usize;
        if length > MAX_FRAME {
            return Err(FrameError::TooLong(length));
        }
        Ok((body.len() >= length).then_some(length))
    }

    fn release(&mut self) {
        if self.taken < self.buffer.len() {
            return;
        }
        self.buffer.clear();
        self.buffer.shrink_to(KEPT_CAPACITY);
        self.taken = 0;
    }
}
