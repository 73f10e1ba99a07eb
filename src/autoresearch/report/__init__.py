"""What people and proposers read: pure functions of the study and its state."""
