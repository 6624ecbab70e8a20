package bus

// TypeAnnouncement is the Type of the events that package bus/announce publishes, to a topic of their own: who publishes
// and who reads which types. They are repeated all the time, so nobody misses one, and a backend without a log does not
// count those that nobody has heard.
const TypeAnnouncement = "tidings.bus.v1.Announcement"
