//! The terminal: sets it up, draws frames, reads keys, and restores it in every case.

use super::draw::{Scene, Status, Theme, draw, measure};
use super::model::{Model, Span, Vantage};
use super::shared::Shared;
use super::view::{Action, View};
use crossterm::cursor::{Hide, Show};
use crossterm::event::{self, Event, KeyEventKind};
use crossterm::execute;
use crossterm::terminal::{
    EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode,
};
use dnscribe_config::log::Ring;
use ratatui::Terminal;
use ratatui::backend::{Backend, CrosstermBackend};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use std::fs::File;
use std::io::{self, BufWriter, IsTerminal as _, Stdout, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Once};
use std::time::{Duration, Instant};

/// Interval of frames; a key causes one at once.
const FRAME_INTERVAL: Duration = Duration::from_millis(500);

/// Time for which crossterm is asked for keys that have come; it reads none in no time.
const READ_TIME: Duration = Duration::from_millis(1);

/// Interval at which the end is checked while no key is pressed.
const PAUSE: Duration = Duration::from_millis(100);

/// Time for which a new log line is shown.
const NEW_LOG_TIME: Duration = Duration::from_secs(6);

/// What the screen shows at first, and how.
#[derive(Clone, Debug)]
pub struct ScreenOptions {
    /// Source of the records, in words.
    pub source: String,
    /// Sides whose queries are counted.
    pub vantage: Vantage,
    /// Time over which they are counted.
    pub span: Span,
    /// Capabilities of the terminal.
    pub theme: Theme,
}

/// Returns why no screen can be shown; none where it can.
#[must_use]
pub fn obstacle() -> Option<&'static str> {
    let term = std::env::var("TERM").unwrap_or_default();
    if !io::stdout().is_terminal() {
        Some("stdout is not a terminal")
    } else if matches!(term.as_str(), "" | "dumb") {
        Some("the terminal cannot be drawn on (TERM is empty or dumb)")
    } else {
        None
    }
}

/// Draws until a key or `stop` ends it. Restores the terminal and sets `stop` in every case.
///
/// # Errors
/// The terminal cannot be read or drawn on.
pub fn show(
    shared: &Shared,
    options: &ScreenOptions,
    log: &Ring,
    stop: &Arc<AtomicBool>,
) -> io::Result<()> {
    let _stop_on_drop = StopOnDrop(Arc::clone(stop));
    let keyboard = Keyboard::find()?;
    let mut screen = Screen::take()?;
    let mut state = ScreenState {
        view: View::new(options.vantage, options.span),
        frozen: None,
        status: Status { source: options.source.clone(), ..Status::default() },
        theme: options.theme,
    };
    while !stop.load(Ordering::Relaxed) {
        state.status.ended = shared.has_ended();
        (state.status.log, state.status.log_is_new) = log.lines(NEW_LOG_TIME);
        screen.frame(shared, &mut state)?;
        if state.wait(&keyboard, shared, stop)? {
            break;
        }
    }
    Ok(())
}

/// Sets `stop` when dropped, also in a panic.
struct StopOnDrop(Arc<AtomicBool>);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

struct ScreenState {
    view: View,
    /// Copy of the model while the screen is paused.
    frozen: Option<Box<Model>>,
    status: Status,
    theme: Theme,
}

impl ScreenState {
    /// Waits for keys until the next frame is due, and handles them. Returns whether to quit.
    fn wait(
        &mut self,
        keyboard: &Keyboard,
        shared: &Shared,
        stop: &AtomicBool,
    ) -> io::Result<bool> {
        let due = Instant::now() + FRAME_INTERVAL;
        loop {
            let left = due.saturating_duration_since(Instant::now());
            if left.is_zero() || stop.load(Ordering::Relaxed) {
                return Ok(false);
            }
            match keyboard.wait(left.min(PAUSE))? {
                KeyboardEvent::Nothing => continue,
                KeyboardEvent::Key => {}
                KeyboardEvent::Gone => return Ok(true),
            }
            let mut over = false;
            // All pending keys are handled before the next frame.
            while !over && event::poll(READ_TIME)? {
                if let Event::Key(key) = event::read()?
                    && key.kind != KeyEventKind::Release
                {
                    let view = &mut self.view;
                    let frozen = &self.frozen;
                    let action = shared.read(|live| {
                        view.key(key.code, key.modifiers, frozen.as_deref().unwrap_or(live))
                    });
                    over = self.act(action, shared);
                }
            }
            return Ok(over);
        }
    }

    fn act(&mut self, action: Action, shared: &Shared) -> bool {
        match action {
            Action::None => {}
            Action::Quit => return true,
            Action::Clear => {
                self.frozen = None;
                shared.read(Model::clear);
            }
            Action::Pause => {
                self.frozen = match self.frozen.take() {
                    Some(_) => None,
                    None => Some(Box::new(shared.read(|live| live.clone()))),
                };
            }
        }
        self.status.paused = self.frozen.is_some();
        false
    }
}

/// Source of keys, as crossterm chooses it: stdin, or the terminal of this process where stdin is
/// something else. crossterm never returns from reading a closed terminal, so it is used only when keys are
/// available.
struct Keyboard(OwnedFd);

enum KeyboardEvent {
    Nothing,
    Key,
    /// The terminal was closed.
    Gone,
}

impl Keyboard {
    fn find() -> io::Result<Self> {
        let stdin = io::stdin();
        Ok(Self(if stdin.is_terminal() {
            stdin.as_fd().try_clone_to_owned()?
        } else {
            File::open("/dev/tty")?.into()
        }))
    }

    fn wait(&self, limit: Duration) -> io::Result<KeyboardEvent> {
        let mut waiting = [PollFd::new(&self.0, PollFlags::IN)];
        let limit = Timespec::try_from(limit).map_err(io::Error::other)?;
        match poll(&mut waiting, Some(&limit)) {
            // A signal: the terminal was resized, or the program ends.
            Err(Errno::INTR) => return Ok(KeyboardEvent::Nothing),
            other => other?,
        };
        let came = waiting[0].revents();
        Ok(if came.intersects(PollFlags::HUP | PollFlags::ERR | PollFlags::NVAL) {
            KeyboardEvent::Gone
        } else if came.contains(PollFlags::IN) {
            KeyboardEvent::Key
        } else {
            KeyboardEvent::Nothing
        })
    }
}

/// The terminal, set up for drawing.
struct Screen {
    terminal: Terminal<CrosstermBackend<BufWriter<Stdout>>>,
}

/// Whether the terminal is set up. There is one per process.
static TAKEN: AtomicBool = AtomicBool::new(false);

impl Screen {
    fn take() -> io::Result<Self> {
        static HOOK: Once = Once::new();
        HOOK.call_once(|| {
            // The message of a panic would disappear with the alternate screen.
            let previous = std::panic::take_hook();
            std::panic::set_hook(Box::new(move |panic| {
                restore_terminal();
                previous(panic);
            }));
        });
        TAKEN.store(true, Ordering::Relaxed);
        // From here on, dropping `screen` restores the terminal.
        let screen = CrosstermBackend::new(BufWriter::new(io::stdout()));
        let mut screen = Self { terminal: Terminal::new(screen)? };
        enable_raw_mode()?;
        execute!(screen.terminal.backend_mut(), EnterAlternateScreen, Hide)?;
        // Terminal::clear would ask for the cursor, and not every terminal answers.
        screen.terminal.backend_mut().clear()?;
        Ok(screen)
    }

    /// Draws a frame. Feeding threads wait while the model is read, but not for the terminal.
    fn frame(&mut self, shared: &Shared, state: &mut ScreenState) -> io::Result<()> {
        self.terminal.autoresize()?;
        let mut frame = self.terminal.get_frame();
        let ScreenState { view, frozen, status, theme } = state;
        measure(frame.area(), view);
        let last = shared.read(|live| {
            let model = frozen.as_deref().unwrap_or(live);
            draw(&mut frame, &Scene { model, view, status, theme: *theme, has_keys: true })
        });
        view.scroll = view.scroll.min(last);
        self.terminal.flush()?;
        self.terminal.swap_buffers();
        Backend::flush(self.terminal.backend_mut())
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        restore_terminal();
    }
}

/// Restores the terminal, once. Errors of a closed terminal are ignored.
fn restore_terminal() {
    if TAKEN.swap(false, Ordering::Relaxed) {
        let _ = disable_raw_mode();
        let mut stdout = io::stdout();
        let _ = execute!(stdout, LeaveAlternateScreen, Show);
        let _ = stdout.flush();
    }
}
