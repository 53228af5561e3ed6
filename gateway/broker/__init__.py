"""What moves the work: in one process, or over RabbitMQ."""
