// A stream of server-sent events that comes back, and that rests while nobody looks.

const FIRST_WAIT_MS = 2_000;
const LONGEST_WAIT_MS = 30_000;

type Watch = {
  /** Where to listen; asked for at every new beginning, so that it may say what is known already. */
  url: () => string;
  on: Record<string, (data: string) => void>;
  /** The server tells from now on; `gap` when it may have had something to tell before, while nobody listened. */
  onOpen: (gap: boolean) => void;
  onLost: () => void;
  /** The server answered with something else than a stream: the session may have ended. */
  onRefused: () => void;
};

export type Stream = { close: () => void; restart: () => void };

/**
 * The browser tries again by itself where a connection breaks, but gives up for good where the answer is no stream:
 * then a new one is opened, after 2 s at first and 30 s at last. A page in the background holds no connection, since a
 * browser opens only six to a host over all of its tabs.
 */
export function openStream(watch: Watch): Stream {
  let source: EventSource | undefined;
  let timer: ReturnType<typeof setTimeout> | undefined;
  let wait = FIRST_WAIT_MS;
  let gap = false;

  const stop = () => {
    clearTimeout(timer);
    source?.close();
    source = undefined;
  };
  const start = () => {
    stop();
    if (document.hidden) {
      gap = true;
      return;
    }
    const made = new EventSource(watch.url());
    source = made;
    made.onopen = () => {
      wait = FIRST_WAIT_MS;
      watch.onOpen(gap);
      gap = true;
    };
    made.onerror = () => {
      gap = true;
      watch.onLost();
      if (made.readyState !== EventSource.CLOSED) return;
      watch.onRefused();
      clearTimeout(timer);
      timer = setTimeout(start, wait);
      wait = Math.min(LONGEST_WAIT_MS, wait * 2);
    };
    for (const [name, act] of Object.entries(watch.on))
      made.addEventListener(name, (message: MessageEvent<string>) => {
        // What was on its way when the stream was closed belongs to nobody.
        if (source === made) act(message.data);
      });
  };
  const seen = () => (document.hidden ? stop() : start());
  document.addEventListener("visibilitychange", seen);
  start();
  return {
    close: () => {
      document.removeEventListener("visibilitychange", seen);
      stop();
    },
    restart: start,
  };
}
