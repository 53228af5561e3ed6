pytest_plugins = ("tests.servers.postgres", "tests.servers.rabbitmq", "tests.contracts.stores")
