/** What a run was started with: the `data` of its `started`, as docs/published.md has it. */
export interface Media {
  run: string;
  generation: number;
  resumed: boolean;
  tenant_id: string;
  interaction_id: string;
  stream_id: string;
  track: string | null;
  dialect: string;
  sample_rate: number;
  /** 16-bit little-endian samples, or 8-bit µ-law. */
  encoding: "pcm16" | "mulaw";
  channels: number;
  /** W3C Trace Context of the call; absent if it belongs to no trace. */
  traceparent?: string;
  [other: string]: unknown;
}

interface Common {
  call: Call;
  run: string;
  /** Of the entry, `<generation>-<position>`. */
  id: string;
  /** Of the frame, of the last missing frame of a gap, or of the frame before; -1: none. */
  seq: number;
}
export interface Started extends Common { type: "started"; data: Media }
export interface Audio extends Common {
  type: "audio";
  /** Raw bytes as sent; `call.media` has their encoding. */
  audio: Buffer;
  /** When the service received it, milliseconds since 1970. */
  receivedAtMs: number;
}
export interface Gap extends Common {
  type: "gap";
  /** If not `declared`, retention removed them from a run that the group had begun to read. */
  data: { first_missing: number; missing: number; declared: boolean };
}
/** A key press or a playback mark: the inner object of the carrier's event. */
export interface Signal extends Common { type: "dtmf" | "mark"; data: any }
export interface Ended extends Common {
  type: "ended";
  data: { reason: string; recovered?: boolean; ledger: Record<string, number> };
}
export type Event = Started | Audio | Gap | Signal | Ended;

/** The position in one run: frame `seq` (-1: none), and the number of signals after it. */
export interface Progress {
  run: string;
  generation: number;
  seq: number;
  signals: number;
  ended: boolean;
}

/** The position of a group in a stream, as stored at the broker. */
export interface Position {
  /** Id of the last entry handled; '' before the first. */
  entry: string;
  checksum: number;
  /** The latest last. */
  runs: readonly Progress[];
}

/**
 * - `open`: this worker owns the call
 * - `finished`: its `ended` was handled and committed
 * - `gone`: the broker has had nothing of it for a minute
 * - `lost`: another worker owns it; uncommitted events are repeated there
 * - `left`: this worker has handed it over or is closed
 */
export type CallState = "open" | "finished" | "gone" | "lost" | "left";

/** One media stream that this worker owns, with all its resumptions and runs. */
export interface Call extends AsyncIterable<Event> {
  /** Of the stream at the broker. */
  readonly key: string;
  /** `TENANT/STREAM`. */
  readonly stream: string;
  /** The fencing number of the lease: grows with each owner of the call. */
  readonly fence: number;
  readonly state: CallState;
  /** Of the newest delivered `started`, or of the run that was taken over; undefined before. */
  readonly media: Media | undefined;
  /** The committed position. An owner continues after `position.entry` of the previous owner. */
  readonly position: Position;
  /**
   * Commit all events up to the newest delivered one. False: the call is lost, nothing was
   committed. * Waits for a broker that is away, for a minute at most, then throws. */
  commit(): Promise<boolean>;
  /** The consumer lag in milliseconds: unhandled entries times the duration of the latest frame. */
  lag(): Promise<number>;
}

export interface ReaderOptions {
  /** As `REDIS_URL` of the service: one server, `redis+sentinel://…` or `redis+cluster://…` */
  url: string;
  /** The workers of one group share the calls; use one name for each purpose. */
  group: string;
  /** Unique in the group; by default made of host name and process id. */
  worker?: string;
  /** STREAM_PREFIX of the service, `rtaa` by default. */
  prefix?: string;
  /** Milliseconds after which the calls of a worker that is gone are taken over; 10,000. */
  lease?: number;
  /** Milliseconds after a start of the broker in which no calls are claimed; by default `lease`. */
  settle?: number;
  /** The maximum of calls that this worker owns; 1,000. */
  maxCalls?: number;
  /** Whether an event is committed when the next one is requested; otherwise only by `commit`.
  True. */ autoCommit?: boolean; /** Called for each failure at the broker; all of them are retried.
  Default: console.error. */ onError?: (error: Error) => void;
}

/** A worker of a group. Either iterate over it, or `run` it. */
export declare class Reader implements AsyncIterable<Event>, AsyncDisposable {
  private constructor();
  /** Connect, and create the group if there is none. Waits for a broker that is away. */
  static join(options: ReaderOptions): Promise<Reader>;
  readonly worker: string;
  /** The calls that this worker owns now. */
  readonly calls: readonly Call[];
  /** The events of all calls in turn. Leaving the loop closes the reader. */
  [Symbol.asyncIterator](): AsyncIterator<Event, undefined>;
  /**
   * Run `handler` for each call that this worker owns, concurrently, until
   * `close`. A handler that returns early leaves the rest of its call unread by the group; one that
   * throws closes the reader, and `run` throws its error.
   */
  run(handler: (call: Call) => Promise<void>): Promise<void>;
  /** The largest lag among the calls owned, in milliseconds of speech. */
  lag(): Promise<number>;
  /** Commit what is handled, hand the calls over to other workers, disconnect: 5 s at most. */
  close(): Promise<void>;
  [Symbol.asyncDispose](): Promise<void>;
}

/**
 * A WAV file of the audio among these events of one run, in order; gaps are silence.
 * Throws a RangeError above 4 GiB.
 */
export declare function toWav(
  media: Pick<Media, "sample_rate" | "encoding" | "channels">,
  events: Iterable<Pick<Event, "type"> & { audio?: Uint8Array; data?: any }>,
): Buffer;

/**
 * Converts events to samples: mono, between -1 and 1, at one rate (16,000 by default), for each run
 * in order. The filter delays some milliseconds, which come with the next frame, or with `ended`.
 */
export declare class Resampler {
  constructor(sampleRate?: number);
  /** The samples that are ready; none for events other than frames and ends. */
  feed(event: Event): Float32Array;
}
