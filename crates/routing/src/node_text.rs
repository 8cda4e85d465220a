//! The texts of a node of a tree, which are short nearly always and then lie in the node itself.

/// A label, and the byte that leads to each child.
#[derive(Debug, Clone)]
pub(crate) enum NodeText {
    Short {
        label: u8,
        length: u8,
        bytes: [u8; SHORT],
    },
    Long {
        label: u32,
        bytes: Box<[u8]>,
    },
}

/// As much as fits beside the lengths where a long text has its pointer.
const SHORT: usize = 21;

/// Up to how many bytes are compared one by one.
const FEW: usize = 12;

impl NodeText {
    pub(crate) fn new(label: &[u8], firsts: &[u8]) -> Self {
        let length = label.len() + firsts.len();
        if length > SHORT {
            return Self::Long {
                label: label.len() as u32,
                bytes: [label, firsts].concat().into(),
            };
        }
        let mut bytes = [0; SHORT];
        bytes[..label.len()].copy_from_slice(label);
        bytes[label.len()..length].copy_from_slice(firsts);
        Self::Short {
            label: label.len() as u8,
            length: length as u8,
            bytes,
        }
    }

    pub(crate) fn label(&self) -> &[u8] {
        self.parts().0
    }

    /// What follows the label in `text`, if that begins with it.
    pub(crate) fn strip_label<'t>(&self, text: &'t [u8]) -> Option<&'t [u8]> {
        let label = self.label();
        let (begin, rest) = text.split_at_checked(label.len())?;
        // Labels are some bytes mostly: to call for help takes longer.
        let is_same = if label.len() < FEW {
            std::iter::zip(label, begin).all(|(own, byte)| own == byte)
        } else {
            label == begin
        };
        is_same.then_some(rest)
    }

    /// Which child a byte leads to.
    pub(crate) fn place_of(&self, first: u8) -> Option<usize> {
        let firsts = self.firsts();
        if firsts.len() < FEW {
            firsts.iter().position(|own| *own == first)
        } else {
            memchr::memchr(first, firsts)
        }
    }

    pub(crate) fn firsts(&self) -> &[u8] {
        self.parts().1
    }

    fn parts(&self) -> (&[u8], &[u8]) {
        match self {
            Self::Short { label, length, bytes } => {
                bytes[..usize::from(*length)].split_at(usize::from(*label))
            }
            Self::Long { label, bytes } => bytes.split_at(*label as usize),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_kept_whatever_their_length() {
        for (label, firsts) in [
            (0, 0),
            (0, 21),
            (21, 0),
            (10, 11),
            (10, 12),
            (22, 0),
            (16_384, 256),
        ] {
            let (label, firsts) = (vec![b'a'; label], vec![b'b'; firsts]);
            let text = NodeText::new(&label, &firsts);
            assert_eq!((text.label(), text.firsts()), (&*label, &*firsts));
        }
        assert_eq!(size_of::<NodeText>(), 24);
    }
}
