"""Recipients: a FHIR server, a webhook, an AMQP consumer."""
