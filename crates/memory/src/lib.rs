//! Gives memory back to the system that a process keeps and does not use.
//!
//! - What was freed and the allocator holds on to, in case it is asked for again.
//! - Pages of the program itself. The kernel maps the neighbours of each page that is touched along with it and leaves
//!   them mapped: what runs only at the start counts as this process's memory for good. They are unmapped here, all of
//!   them. They stay in the page cache, from which those that are in use come back at their next touch, some
//!   microseconds for each sixteen.
//!
//! Both cost too little to matter after a burst of work, and too much for the middle of one.
//!
//! glibc besides gives each thread an area of its own, up to eight for each core, of which most of a server's threads use
//! next to nothing.
//!
//! Left out: libraries (others use their pages as well), and allocators other than glibc's.

use std::ffi::{c_int, c_void};
use std::ops::Range;
use std::ptr;

use rustix::mm::{Advice, madvise};
use rustix::param::page_size;

/// Gives back what is not in use at this moment. Safe to call at any time, from any thread.
pub fn give_back() {
    trim();
    for pages in program() {
        // SAFETY: these are whole pages of a file that nothing can have written to: touched again, they are as before.
        let _ = unsafe {
            madvise(
                pages.start as *mut c_void,
                pages.end - pages.start,
                Advice::LinuxDontNeed,
            )
        };
    }
}

/// Has the allocator spread its memory over no more than so many areas, shared by threads beyond that: each one that few
/// threads use keeps memory to itself. To be called before other threads are made.
pub fn limit_areas(most: usize) {
    #[cfg(target_env = "gnu")]
    if let Ok(most) = c_int::try_from(most) {
        // SAFETY: the allocator's own function; it refuses what makes no sense.
        unsafe { libc::mallopt(libc::M_ARENA_MAX, most) };
    }
    #[cfg(not(target_env = "gnu"))]
    let _ = most;
}

fn trim() {
    #[cfg(target_env = "gnu")]
    // SAFETY: the allocator's own function, which takes its own locks.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// Addresses of the pages of this program that are mapped from its file and cannot be written to.
fn program() -> Vec<Range<usize>> {
    let mut found: Vec<Range<usize>> = Vec::new();
    // SAFETY: `first` is given the vector and nobody else has it meanwhile.
    unsafe { libc::dl_iterate_phdr(Some(first), ptr::from_mut(&mut found).cast()) };
    found
}

/// Looks at the first object, which is the program.
///
/// # Safety
/// `info` is what `dl_iterate_phdr` gives, and `found` a vector of ranges.
unsafe extern "C" fn first(info: *mut libc::dl_phdr_info, _size: usize, found: *mut c_void) -> c_int {
    // SAFETY: as promised; the headers are as many as is said, and stay as long as the program.
    let (info, found) = unsafe { (&*info, &mut *found.cast::<Vec<Range<usize>>>()) };
    if info.dlpi_phdr.is_null() {
        return 1;
    }
    // SAFETY: the same.
    let headers = unsafe { std::slice::from_raw_parts(info.dlpi_phdr, usize::from(info.dlpi_phnum)) };
    let read_only = headers
        .iter()
        .filter(|header| header.p_type == libc::PT_LOAD && header.p_flags & libc::PF_W == 0);
    found.extend(read_only.map(|header| {
        let start = usize::try_from(info.dlpi_addr + header.p_vaddr).unwrap_or(0);
        whole_pages(start, usize::try_from(header.p_filesz).unwrap_or(0))
    }));
    1
}

/// Those that lie within `length` bytes from `start`.
fn whole_pages(start: usize, length: usize) -> Range<usize> {
    let page = page_size();
    let end = start.saturating_add(length) / page * page;
    start.next_multiple_of(page).min(end)..end
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn only_whole_pages() {
        let page = page_size();
        for (start, length, expected) in [
            (0, 2 * page, 0..2 * page),
            (1, 2 * page, page..2 * page),
            (page, page - 1, page..page),
            (page + 1, page, 2 * page..2 * page),
            (1, 2, 0..0),
        ] {
            assert_eq!(whole_pages(start, length), expected, "{start} {length}");
        }
    }

    /// Resident pages of this process that belong to files, kB.
    fn of_files() -> u64 {
        let status = fs::read_to_string("/proc/self/status").unwrap();
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("RssFile:"))
            .unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }

    #[test]
    fn the_program_shrinks_and_goes_on() {
        let program = program();
        assert!(
            program
                .iter()
                .any(|pages| pages.contains(&(give_back as *const () as usize))),
            "{program:x?}"
        );
        for pages in &program {
            // All of it is mapped, as if it had run.
            for address in pages.clone().step_by(page_size()) {
                // SAFETY: it is part of this program.
                unsafe { ptr::read_volatile(address as *const u8) };
            }
        }
        let before = of_files();
        give_back();
        let after = of_files();
        assert!(after < before, "{before} {after}");
    }
}
