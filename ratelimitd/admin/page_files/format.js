// Numbers, times and durations as text.

const STEPS = [[1e12, "T"], [1e9, "G"], [1e6, "M"], [1e3, "k"]];
const CLOCK = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" });
const MINUTE = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", hourCycle: "h23" });
const WHOLE = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "long", hourCycle: "h23" });
const ZONE = new Intl.DateTimeFormat("en", { timeZoneName: "short" });

/** 12 400 → "12.4 k"; below 1000 at most three digits. A thin space keeps number and unit together. */
function amount(value) {
  if (value === null || value === undefined || !Number.isFinite(value)) return "–";
  const size = Math.abs(value);
  const step = STEPS.find(([least]) => size >= least * 0.9995);
  if (step) return `${digits(value / step[0])}\u202f${step[1]}`;
  return digits(value);
}

function digits(value) {
  const size = Math.abs(value);
  if (size === 0) return "0";
  if (size < 0.01) return "<0.01";
  const places = size >= 99.95 || Number.isInteger(value) ? 0 : size >= 9.995 ? 1 : size >= 1 ? 2 : 2;
  return String(Number(value.toFixed(places)));
}

const rate = (value) => `${amount(value)}/s`;
const bytes = (value) => (value === null || value === undefined ? "–" : value < 1024 ? `${value}\u202fB` : value < 1 << 20
  ? `${digits(value / 1024)}\u202fKiB` : `${digits(value / (1 << 20))}\u202fMiB`);
const percent = (share) => (share === null || share === undefined ? "–" : `${digits(Math.round(share * 1000) / 10)}\u202f%`);
const plural = (count, one, many = `${one}s`) => `${amount(count)} ${count === 1 ? one : many}`;

/** Seconds as the two largest units: 3661 → "1 h 1 min". */
function duration(seconds) {
  if (seconds === null || seconds === undefined) return "–";
  if (seconds <= 0) return "0\u202fs";
  if (seconds < 10) return `${digits(Math.ceil(seconds * 10 - 0.01) / 10)}\u202fs`;
  const whole = Math.ceil(seconds);
  const parts = [[Math.floor(whole / 86400), "d"], [Math.floor(whole / 3600) % 24, "h"], [Math.floor(whole / 60) % 60, "min"], [whole % 60, "s"]];
  const first = parts.findIndex(([count]) => count > 0);
  return parts.slice(first, first + 2).filter(([count]) => count > 0).map(([count, unit]) => `${count}\u202f${unit}`).join(" ");
}

/** The name of the time zone at a moment, as "UTC" or "GMT+2". */
function zone(seconds = Date.now() / 1000) {
  return ZONE.formatToParts(seconds * 1000).find((part) => part.type === "timeZoneName").value;
}

const timeText = (seconds) => CLOCK.format(seconds * 1000);
const clockText = (seconds) => `${timeText(seconds)} ${zone(seconds)}`;
const minuteText = (seconds) => MINUTE.format(seconds * 1000);

/** A <time> with the time of day and the zone, or as a column with the zone in its title has it; its tooltip has the date. */
function clock(seconds, text = clockText) {
  const date = new Date(seconds * 1000);
  return h("time", { datetime: date.toISOString(), title: WHOLE.format(date) }, text(seconds));
}

/** Digits in groups of three: 200000 → 200 000. */
const grouped = (text) => String(text).replace(/\d{5,}/g, (number) => number.replace(/\B(?=(\d{3})+$)/g, "\u202f"));
const capital = (text) => text.charAt(0).toUpperCase() + text.slice(1);
const sum = (numbers) => numbers.reduce((total, number) => total + number, 0);
