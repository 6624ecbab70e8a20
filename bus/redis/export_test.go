package redis

// ListenersWait is how long publishing waits after an outage.
const ListenersWait = listenersWait
