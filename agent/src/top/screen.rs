//! The terminal: taken, drawn on, listened to, and given back whatever happens.

use super::draw::{Look, Scene, Status, draw, measure};
use super::model::{Model, Span, Vantage};
use super::shared::Shared;
use super::view::{Action, View};
use crate::log::Ring;
use ratatui::Terminal;
use ratatui::backend::{Backend, CrosstermBackend};
use ratatui::crossterm::cursor::{Hide, Show};
use ratatui::crossterm::event::{self, Event, KeyEventKind};
use ratatui::crossterm::execute;
use ratatui::crossterm::terminal::{
    EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode,
};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use std::fs::File;
use std::io::{self, BufWriter, IsTerminal as _, Stdout, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Once};
use std::time::{Duration, Instant};

/// Between two frames, unless a key asks for one.
const EVERY: Duration = Duration::from_millis(500);

/// Longest wait for a key before looking whether it is time to end.
const PAUSE: Duration = Duration::from_millis(100);

/// How long a log line is news.
const NEWS: Duration = Duration::from_secs(6);

/// What the view begins with.
#[derive(Clone, Debug)]
pub struct Wishes {
    /// Where the records come from, in words.
    pub source: String,
    /// From which side.
    pub vantage: Vantage,
    /// Of which time.
    pub span: Span,
    /// How it looks.
    pub look: Look,
}

/// Why there can be no view; nothing where there can.
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

/// Draws until a key or `stop` ends it. However it ends, the terminal is as it was, and `stop` is set.
pub fn show(
    shared: &Shared,
    wishes: &Wishes,
    log: &Ring,
    stop: &Arc<AtomicBool>,
) -> io::Result<()> {
    let _farewell = Farewell(Arc::clone(stop));
    let keyboard = Keyboard::find()?;
    let mut screen = Screen::take()?;
    let mut sitting = Sitting {
        view: View::new(wishes.vantage, wishes.span),
        frozen: None,
        status: Status { source: wishes.source.clone(), ..Status::default() },
        look: wishes.look,
    };
    while !stop.load(Ordering::Relaxed) {
        sitting.status.ended = shared.has_ended();
        (sitting.status.log, sitting.status.log_is_new) = log.lines(NEWS);
        screen.frame(shared, &mut sitting)?;
        if sitting.wait(&keyboard, shared, stop)? {
            break;
        }
    }
    Ok(())
}

/// Whoever goes says so, in a panic too.
struct Farewell(Arc<AtomicBool>);

impl Drop for Farewell {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// What the reader has before the eyes.
struct Sitting {
    view: View,
    /// The model as it was when the picture was held.
    frozen: Option<Box<Model>>,
    status: Status,
    look: Look,
}

impl Sitting {
    /// Waits for keys until the next frame is due, and does what they say; whether it is over.
    fn wait(
        &mut self,
        keyboard: &Keyboard,
        shared: &Shared,
        stop: &AtomicBool,
    ) -> io::Result<bool> {
        let due = Instant::now() + EVERY;
        loop {
            let left = due.saturating_duration_since(Instant::now());
            if left.is_zero() || stop.load(Ordering::Relaxed) {
                return Ok(false);
            }
            match keyboard.wait(left.min(PAUSE))? {
                Pressed::Nothing => continue,
                Pressed::Key => {}
                Pressed::Gone => return Ok(true),
            }
            let mut over = false;
            // Keys that wait are taken together: one frame shows what all of them did.
            while !over && event::poll(Duration::ZERO)? {
                if let Event::Key(key) = event::read()?
                    && key.kind != KeyEventKind::Release
                {
                    let view = &mut self.view;
                    let frozen = &self.frozen;
                    let action = shared.look(|live| {
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
                shared.look(Model::clear);
            }
            Action::Pause => {
                self.frozen = match self.frozen.take() {
                    Some(_) => None,
                    None => Some(Box::new(shared.look(|live| live.clone()))),
                };
            }
        }
        self.status.paused = self.frozen.is_some();
        false
    }
}

/// Where keys come from, as crossterm finds it: stdin, or the terminal of this process where stdin is
/// something else. crossterm reads on for ever from a terminal that is gone, so it is asked for
/// keys only where there are some.
struct Keyboard(OwnedFd);

/// What came from a keyboard.
enum Pressed {
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

    fn wait(&self, limit: Duration) -> io::Result<Pressed> {
        let mut waiting = [PollFd::new(&self.0, PollFlags::IN)];
        let limit = Timespec::try_from(limit).map_err(io::Error::other)?;
        match poll(&mut waiting, Some(&limit)) {
            // A signal: the terminal's size has changed, or it is time to end.
            Err(Errno::INTR) => return Ok(Pressed::Nothing),
            other => other?,
        };
        let came = waiting[0].revents();
        Ok(if came.intersects(PollFlags::HUP | PollFlags::ERR | PollFlags::NVAL) {
            Pressed::Gone
        } else if came.contains(PollFlags::IN) {
            Pressed::Key
        } else {
            Pressed::Nothing
        })
    }
}

/// The terminal while it is ours.
struct Screen {
    terminal: Terminal<CrosstermBackend<BufWriter<Stdout>>>,
}

/// Whether the terminal is ours. One per process, as the terminal is.
static TAKEN: AtomicBool = AtomicBool::new(false);

impl Screen {
    fn take() -> io::Result<Self> {
        static HOOK: Once = Once::new();
        HOOK.call_once(|| {
            // A panic of any thread would be told on a screen that is about to go.
            let told = std::panic::take_hook();
            std::panic::set_hook(Box::new(move |panic| {
                give_back();
                told(panic);
            }));
        });
        TAKEN.store(true, Ordering::Relaxed);
        // From here on, dropping it gives the terminal back.
        let screen = CrosstermBackend::new(BufWriter::new(io::stdout()));
        let mut screen = Self { terminal: Terminal::new(screen)? };
        enable_raw_mode()?;
        execute!(screen.terminal.backend_mut(), EnterAlternateScreen, Hide)?;
        screen.terminal.clear()?;
        Ok(screen)
    }

    /// Draws a frame. Those that feed the model wait while it is read, but not for the terminal.
    fn frame(&mut self, shared: &Shared, sitting: &mut Sitting) -> io::Result<()> {
        self.terminal.autoresize()?;
        let mut frame = self.terminal.get_frame();
        let Sitting { view, frozen, status, look } = sitting;
        measure(frame.area(), view);
        shared.look(|live| {
            let model = frozen.as_deref().unwrap_or(live);
            draw(&mut frame, &Scene { model, view, status, look: *look });
        });
        self.terminal.flush()?;
        self.terminal.swap_buffers();
        Backend::flush(self.terminal.backend_mut())
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        give_back();
    }
}

/// Gives the terminal back, once. A terminal that is gone wants nothing back.
fn give_back() {
    if TAKEN.swap(false, Ordering::Relaxed) {
        let _ = disable_raw_mode();
        let mut stdout = io::stdout();
        let _ = execute!(stdout, LeaveAlternateScreen, Show);
        let _ = stdout.flush();
    }
}
