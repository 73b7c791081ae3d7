//! An executor that polls one task at a time, and only when it is told which.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};

use cloakroom_agent::cache::Spawner;

/// Work of one task.
pub(super) type Work = Pin<Box<dyn Future<Output = ()> + Send>>;

struct Task {
    /// None once it has ended or was dropped.
    work: Option<Work>,
    woken: Arc<Flag>,
}

struct Flag(AtomicBool);

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// All tasks: the clients first, then what was spawned, in the order of its spawning.
#[derive(Default)]
pub(super) struct Executor {
    tasks: Vec<Task>,
    spawned: Arc<Mutex<Vec<Work>>>,
}

impl Executor {
    pub(super) fn spawner(&self) -> Spawner {
        let spawned = Arc::clone(&self.spawned);
        Arc::new(move |work| spawned.lock().unwrap().push(work))
    }

    pub(super) fn add(&mut self, work: Work) {
        self.tasks.push(Task { work: Some(work), woken: Arc::new(Flag(AtomicBool::new(true))) });
    }

    /// Tasks that would do something if they were polled.
    pub(super) fn runnable(&self) -> Vec<usize> {
        let runs = |task: &Task| task.work.is_some() && task.woken.0.load(Ordering::SeqCst);
        (0..self.tasks.len()).filter(|index| runs(&self.tasks[*index])).collect()
    }

    /// Whether the task has neither ended nor been dropped.
    pub(super) fn lives(&self, index: usize) -> bool {
        self.tasks.get(index).is_some_and(|task| task.work.is_some())
    }

    pub(super) fn any_lives(&self) -> bool {
        (0..self.tasks.len()).any(|index| self.lives(index))
    }

    pub(super) fn poll(&mut self, index: usize) {
        let task = &mut self.tasks[index];
        task.woken.0.store(false, Ordering::SeqCst);
        let waker = Waker::from(Arc::clone(&task.woken));
        if let Some(work) = &mut task.work
            && let Poll::Ready(()) = work.as_mut().poll(&mut Context::from_waker(&waker))
        {
            task.work = None;
        }
        self.adopt();
    }

    pub(super) fn drop_task(&mut self, index: usize) {
        self.tasks[index].work = None;
        self.adopt();
    }

    fn adopt(&mut self) {
        let new: Vec<Work> = self.spawned.lock().unwrap().drain(..).collect();
        for work in new {
            self.add(work);
        }
    }
}
